"""What a version is and how good it is, for people: report.json, report.html and the model card.

facts    what is known of a model and its data, and what was measured of it: values, no drawing
queries  which held-out queries were won and lost against the version before, and examples
words    the same in sentences
charts   coordinates of the drawings
page     report.html
card     the model card
files    reads what the artifact and the snapshot say, writes all of it to the store
"""
