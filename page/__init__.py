"""What the page is made of: its words in two languages, its views as templates, its style and its keys."""
