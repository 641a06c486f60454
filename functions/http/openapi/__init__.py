"""The OpenAPI document of the HTTP API, made from the table of request types and the payloads' structs.

In here: the document, its examples, and how a struct becomes a JSON Schema that says what the decoder accepts. Not in
here: how it is served (`functions.http.application`). `make openapi` writes the copy in docs/.
"""
