"""Formats of dates in the admin, by language, which are those of the site."""
