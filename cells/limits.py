"""What one request may bring and cost. The page shows these figures, and a message that refuses something names its own."""

FILES = 500  # pictures, a ZIP's among them
FILE_BYTES = 64_000_000  # of a file, and of a picture in a ZIP, since it is read whole
PIXELS = 50_000_000  # of a picture
UNPACKED_BYTES = 1_000_000_000  # of all pictures in a ZIP

CLASSIFYING = 4  # requests at once: one large one does not hold up the small ones; more would only share the same cores
WAITING = 60  # requests in the queue; whoever comes then is told at once that there is no place
