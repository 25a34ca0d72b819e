"""The embedded world: generated pictures with captions, boxes and exact answers.

It stands in for downloaded data, so that every part of Pumice runs for real with no network.
Nothing but the command line and the tests imports it.
"""
