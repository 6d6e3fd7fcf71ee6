"""The test site: real servers, certificates and phones that the system tests are made of.

One part a file; each may be used alone. Nothing here knows how a test decides what is right.
"""
