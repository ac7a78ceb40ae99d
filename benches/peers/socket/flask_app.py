"""The tutorial's server in Flask. The key is in the environment variable `API_KEY`."""

import os

from flask import Flask, jsonify, request

app = Flask(__name__)
key = os.environ["API_KEY"]


@app.get("/secret-data")
def secret_data():
    if request.headers.get("x-api-key") != key:
        return jsonify(error="Unauthorized access"), 401
    return jsonify(message="Welcome! Here is your secret data.", data=[10, 20, 30])
