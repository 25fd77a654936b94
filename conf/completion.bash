# Tab completion of `python -m pipeline.STAGE KEY=VALUE ...` in bash: `. conf/completion.bash`.
# Hydra's own script knows `python FILE` only; this one asks Hydra for the same suggestions.
_pipeline_completion() {
    local words=($COMP_LINE) line word
    [[ ${words[1]} == -m && ${words[2]} == pipeline.* ]] || return
    line="pipeline ${COMP_LINE#*"${words[2]}"}"
    word=${COMP_WORDS[COMP_CWORD]}
    COMPREPLY=($(compgen -W "$(COMP_LINE=$line COMP_POINT=${#line} \
        "${words[0]}" -m "${words[2]}" -sc query=bash 2>/dev/null)" -- "$word"))
}
COMP_WORDBREAKS=${COMP_WORDBREAKS//=}
complete -o nospace -o default -F _pipeline_completion python
