"""Finds the numbers of the news world."""
