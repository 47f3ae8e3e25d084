"""Who is to be told of what, and in which words (docs/adr/0036). Called by `reconcile`, and by `attune.notify` before it sends. Pure.

happenings  which transitions a status tells of, each with an id that never changes
announce    what is still to be told, as a part of the status; what became of it, as a condition
facts       names and numbers of a happening, and the built-in words
templates   the words of a user
payloads    the body for a chat, or for a server
"""
