"""The shapes of requests and answers. The same types validate, document and encode."""
