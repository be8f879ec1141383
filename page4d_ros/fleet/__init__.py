"""Thousands of recordings: each result is whole or not there, and none is made twice."""
