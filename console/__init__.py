"""The top floor: the one command that people type, and what needs several stages at once.

Only this package may import all stages. It decides nothing about data: it wires, shows and reports.
"""
