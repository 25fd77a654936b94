"""Data sets somewhere on the disk, looked at and described in a file of conf/dataset/."""
