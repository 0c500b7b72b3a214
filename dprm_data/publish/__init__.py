"""Publishing: a run as a dataset repository on the Hugging Face Hub, and back."""
