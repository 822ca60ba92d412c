"""What a user may be told: a code with values, and its sentence in English. The page translates by code."""

ENGLISH = {
    # pictures
    "file_empty": "The file is empty (0 bytes); choose one that holds a picture.",
    "file_missing": "There is no such file.",
    "file_is_folder": "This is a folder, not a picture.",
    "folder_closed": "This is a folder that may not be opened.",
    "file_denied": "The file may not be read: permission denied.",
    "file_irregular": "The file cannot be read: it is no regular file.",
    "file_unreadable": "The file cannot be read: {reason}.",
    "file_too_large": "The file has more than {megabytes} MB; crop the picture to a field or a cell.",
    "picture_unknown": "This is not a picture that can be read; use JPEG, PNG, TIFF, BMP or WebP.",
    "picture_broken": "The picture is damaged or cut off; save or copy it again.",
    "picture_slow": "The picture takes more than {seconds} s to read; save it as PNG.",
    "picture_whole_slide": "This is a file of a whole slide; export the fields to classify as JPEG, PNG or TIFF.",
    "picture_several": "The file holds several pictures (an animation or a stack); save one picture a file.",
    "picture_far_too_large": "The picture has far too many pixels, and {allowed} million are allowed; crop it.",
    "picture_too_large": "The picture has {megapixels} million pixels, and {allowed} million are allowed; crop it.",
    "picture_too_long": "The picture has {width} x {height} pixels; a side may be at most {times} times the other.",
    # ZIP
    "zip_broken": "The ZIP is damaged or cut off; make it again.",
    "zip_empty": "The ZIP holds no picture; the endings looked for are {endings}.",
    "zip_too_many": "The ZIP holds {count} pictures, and {allowed} are allowed; split it.",
    "zip_too_large": "The ZIP holds more than {megabytes} MB of pictures; split it.",
    "zip_picture_too_large": "The ZIP holds a picture of more than {megabytes} MB; leave it out.",
    "zip_too_many_entries": "The ZIP holds more than {allowed} files and folders; split it.",
    "zip_name_too_long": "The ZIP holds a name of more than {letters} letters; shorten it.",
    "zip_compression": "The ZIP is compressed by another method than deflate; make it again with the usual settings.",
    "zip_locked": "The ZIP is locked with a password; make it without one.",
    # the status of a cell
    "unfamiliar": "Does not look like the pictures that the model learned from: its answer may mean nothing.",
    "review": "Probability below {threshold}: look at this cell yourself.",
    "review_always": "The model is not right often enough when it names this type: look at this cell yourself.",
    "blast": "May be a blast: a pathologist decides.",
    "cell_cut": "The edge of the field cuts this cell: it counts only where a person decides.",
    "field_low_power": "The cells in this field have about {pixels} px, and {smallest} are needed: use a higher magnification.",
    "field_empty": "No white cell was found in this field.",
    # typical ranges
    "range_not_numbers": "The typical range of {label} is to be two numbers.",
    "range_not_percent": "The typical range of {label} is to go from a lower to a higher percentage, between 0 and 100.",
    # models
    "model_unknown": "There is no model {model}; give one of {known}, a model folder, or a Hub id (USER/NAME).",
    "model_labels": "The model {model} knows other labels ({found}): none is a known blood cell, and it has no {file}.",
    "model_labels_broken": "The model {model} has no labels, or a label twice ({found}).",
    "model_classes_broken": "its {file} is no list of classes, each with a name.",
    "model_classes_foreign": "its {file} names other classes than its network has.",
    "model_no_features": "its network ({network}) gives no features of its layers.",
    "no_saliency": "This network ({network}) has no last layer with places in the picture, so there is no heatmap of it.",
    "model_unusable": "The model {model} cannot be loaded: {reason}",
    "model_lacks_weights": "it lacks weights, {weight} among them.",
    "model_lacks_file": "it has no {file}; weights in pickle form are never read.",
    "model_file_broken": "a .safetensors file of it is damaged or cut off; get the model again.",
    "model_no_head": "its network ({network}) does not end in one linear layer.",
    "model_arrays_foreign": "its {file} belongs to another network.",
    "model_other_version": "{model} is {found} on this machine, where the call is of {wanted}.",
    "locator_unusable": "The network that finds cells in a field ({folder}) is missing or damaged; install the program again.",
    # learning from labelled cells
    "adapt_too_few": "{cells} different cells of {types} types are labelled; label at least {fewest}, of two types or more.",
    "adapt_too_many": "At most {most} cells of {types} types are learnt from in this way; python -m train trains on more.",
    "adapt_two_labels": "One picture is labelled twice, as {first} and as {second}; leave one of them out.",
    "adapt_no_gain": "Nothing was learnt: of {total} held-back cells {right} are named as labelled, and {before} before; "
    "label more cells, and look for wrong labels.",
    "kept_broken": "This is no kept model, or it was damaged or changed; use the ZIP as it was kept.",
    "kept_other_base": "The kept model was adapted from {base}, and this batch is of {model}; start a new batch for it.",
    "kept_other_version": "The kept model does not fit {base} as this server has it; learn again, and keep that model.",
    # anything else, in words of its own
    "text": "{text}",
}


class Message(str):
    """A sentence for a user, in English, that knows its code and its values, so that it can be said in another language."""

    code: str
    values: dict[str, object]

    def __new__(cls, template: str, code: str, values: dict[str, object]) -> "Message":
        message = super().__new__(cls, template.format(**values))
        message.code, message.values = code, values
        return message

    def __reduce__(self) -> tuple:
        """So that it passes between processes."""
        return _said_again, (str(self), self.code, self.values)


def _said_again(sentence: str, code: str, values: dict[str, object]) -> Message:
    return Message(sentence.replace("{", "{{").replace("}", "}}"), code, values)


def message(code: str, **values: object) -> Message:
    """The sentence of a code in ENGLISH. A value may be a Message itself. Raises KeyError for an unknown code."""
    return Message(ENGLISH[code], code, values)


class Error(Exception):
    """Something that a user is told: `Error(code, **values)`. Subclasses of other packages bring their own sentences."""

    sentences = ENGLISH

    def __init__(self, code: str, **values: object) -> None:
        self.message = Message(self.sentences[code], code, values)
        super().__init__(self.message)

    @property
    def code(self) -> str:
        return self.message.code

    def __reduce__(self) -> tuple:
        """So that it passes between processes."""
        return _rebuilt, (type(self), self.message.code, self.message.values)


def first_line(error: Exception) -> str:
    """What a library says of an error, as far as a sentence has room for it; its kind where it says nothing."""
    return (str(error).strip() or type(error).__name__).splitlines()[0]


def _rebuilt(kind: type[Error], code: str, values: dict[str, object]) -> Error:
    return kind(code, **values)
