"""What a network predicts, as four scales around it."""
