"""Python's own client: status and body of one GET."""
import sys
import urllib.error
import urllib.request

try:
    answer = urllib.request.urlopen(sys.argv[1], timeout=20)
except urllib.error.HTTPError as error:
    answer = error
print("HTTP/1.1", answer.status)
print(answer.read().decode())
