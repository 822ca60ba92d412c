"""What a request may bring and cost. The page shows these figures, and a message that refuses something names its own."""

MAX_FILES = 500  # pictures, a ZIP's among them
FILE_BYTES = 64_000_000  # of a file, and of a picture in a ZIP, since it is read whole
UNPACKED_BYTES = 1_000_000_000  # of all pictures in a ZIP
ENTRIES = 10_000  # files and folders in a ZIP, whatever they are
NAME = 1_000  # letters of a picture's name in a ZIP, with its folders

PIXELS = 50_000_000  # of a picture
PIXELS_WHOLE = 16_000_000  # of one whose decoder holds it whole, several times over: WebP, AVIF, progressive JPEG
ASPECT = 100  # times that a picture may be as long as it is wide, or the other way

FILE_SECONDS = 3  # of a processor, that the reading of one file may take
SECONDS = 600  # of the clock, from the first picture of a request to its last; only on the page

CLASSIFYING = 4  # requests at once: one large one does not hold up the small ones; more would only share the same cores
WAITING = 60  # requests in the queue; a further one is refused at once

CHUNK = 16  # pictures of one call of the page, which shows the rows of each as they come
SENT_BYTES = 64_000_000  # of what a browser sends in one call: a whole review with its small pictures
BODY_BYTES = SENT_BYTES + 1_000_000  # of a request with all that is in it, but for an upload
REVIEW_CELLS, REVIEW_STEPS, LABELS = 5_000, 100_000, 100  # of a review that is exported
BATCH_CELLS = 3_000  # of a batch on the page, whose export stays below SENT_BYTES with small pictures of up to 20 kB
COMMENT = 10_000  # letters
FETCHING = 4  # models that are fetched from the Hub at once; classifying goes on meanwhile
FETCH_SECONDS = 600  # of the clock, that a person waits for a model of the Hub
EXPLAINING = 2  # saliency maps at once, each of which takes a core
LEARNING = 1  # models that learn at once, which takes every core
LABELLED = 5, 2_000  # cells that a model learns from, at least and at most
