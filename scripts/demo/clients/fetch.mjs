// Node's fetch: status and body of one GET.
const answer = await fetch(process.argv[2]);
console.log("HTTP/1.1", answer.status);
console.log(await answer.text());
