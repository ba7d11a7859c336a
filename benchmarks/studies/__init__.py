"""What several programs of this folder share: studies, what others compute with, files of rows, tables, pages."""
