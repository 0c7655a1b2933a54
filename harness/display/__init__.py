"""What a person sees on a terminal: escaped text, progress, unexpected errors."""
