"""Arithmetic in which hardware has no choice: the same bits on every IEEE 754 machine.

Each operation between the data and the weights is one of

- exact: sums of integers so small that no partial sum is rounded, whatever their order;
- one correctly rounded operation an element: + - * / round cast, comparisons;
- movement of data: gather, slice, transpose, concatenate, maximum.

Nothing here takes a library's exp or log. docs/exact.md explains it.
"""
