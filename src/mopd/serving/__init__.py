"""vLLM servers, spoken to over HTTP: vLLM itself is never imported, since it needs other versions of some packages.

`client` asks one server, `fleet` shares work among several and asks again where one gives no answer, `answers` reads
what they say, `identity` compares them with a student before they are used, `weights` writes weights and lets a server
read them, `command` says how a server is started and `launching` starts it (`mopd serve`), with a `guard` that ends it
where `mopd serve` is killed. `worker/` is what vLLM loads into its own processes.

May import: `core`, `config`, `models`. Another kind of server: its paths and answers are named in `client`, `answers`,
`identity` and `weights`, nowhere else.
"""
