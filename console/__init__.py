"""The top floor: the one command that people type.

It decides nothing about data: it wires, shows and reports.
"""
