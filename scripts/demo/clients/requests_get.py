"""The requests library: status and body of one GET."""
import sys

import requests

answer = requests.get(sys.argv[1], timeout=20)
print("HTTP/1.1", answer.status_code)
print(answer.text)
