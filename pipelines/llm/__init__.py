"""The LLM compiler: a model is shown episodes window by window, and its answers are checked, not believed."""
