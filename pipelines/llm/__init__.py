"""The LLM compiler: episodes shown to a language model window by window, its answers checked before they are believed."""
