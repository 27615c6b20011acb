"""Sections of reports about filled gaps (`gaps`) and scored values (`scores`)."""
