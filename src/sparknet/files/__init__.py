"""Files and folders on a disk, whatever is in them: opened safely, replaced as a whole, locked against a second writer.

Nothing here knows a format. ``regular`` opens files that come from anywhere, ``replacing`` is the one place where a file or a
folder gets its name when all of it is written, ``locking`` keeps other writers out of a folder.
"""
