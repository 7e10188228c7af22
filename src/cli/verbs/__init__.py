"""One module for each verb: what can be typed. What it does is beside this folder.

These modules are imported for a verb's help too, so they import next to nothing; the rest is
imported when the verb is done.
"""
