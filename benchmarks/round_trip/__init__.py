"""The round trip of an image and its mask, ours against others, in one run: `./run bench`.

In a process of its own, since Appose is a dependency of this benchmark alone.
"""
