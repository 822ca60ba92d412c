"""The page, where learning takes a moment in place of a minute: python learning_app.py"""

import os
import sys

sys.path.insert(0, os.getcwd())

from cells.model import fine_tuning

if __name__ == "__main__":
    import app

    fine_tuning.STEPS, fine_tuning.VIEWS = 12, 2
    app.main()
