"""Import of released people into person directories, without executing code, and export back."""
