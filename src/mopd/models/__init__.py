"""Students: models with their tokenizers, from a folder, a GGUF file, a hub id, or built in code.

`student` opens them and holds model, tokenizer, wording and window, or all of these but the model; `pretrained`, `gguf`
and `embedded` are where they come from, `passed` takes what was passed in Python; `tokenizer` is a tokenizer seen
through its chat template; `adapters` puts adapters (LoRA) into models and takes them out, `adapter_files` reads and
writes them; `places` says where files can be, `devices` where and in which dtype a student computes, `weights` in which
its weights are kept, `rounding` how those of bfloat16 move; `memory` tells what helps where it runs out.

May import: `core`, `config`, `method`, `scoring`. A new source of students: a module beside `pretrained`, chosen in
`student.load_student`.
"""
