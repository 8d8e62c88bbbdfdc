"""How far everything has come, and what is wrong: for `twintide status` and the status page alike.

`seen` looks at what lies in the folders, `wrong` judges what was seen. Nothing here changes
anything, or asks a program.
"""
