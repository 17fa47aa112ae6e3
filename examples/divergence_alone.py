"""The divergence between a student and a teacher, without any trainer: logits in, nats and gradients out.

Run it with `python examples/divergence_alone.py`.
"""

import torch
from mopd.divergence import forward_kl, jensen_shannon, top_k_support
from mopd.predictions import Predictions

# Logits of two models for the same tokens: 2 sequences of 5 tokens, 1000 tokens in the vocabulary. Any leading shape
# will do. What came out of your own models goes here.
generator = torch.Generator().manual_seed(0)
student_logits = torch.randn(2, 5, 1000, generator=generator).requires_grad_()
teacher_logits = torch.randn(2, 5, 1000, generator=generator)
is_own = torch.tensor([[1, 1, 1, 1, 0], [1, 1, 1, 0, 0]]).bool()  # tokens that the student wrote

# Predictions normalise logits once, exactly, and give the few log-probabilities that are asked for.
student, teacher = Predictions(student_logits, temperature=0.8), Predictions(teacher_logits, temperature=0.8)
print("entropy of the student in nats:", student.entropies.mean().item())

# The paper's divergence: Jensen-Shannon over the student's 100 most probable tokens and one bucket with all others.
support = top_k_support(student, teacher, k=100, tail=True)
divergence = jensen_shannon(*support, w=0.5)  # [2, 5], in nats
loss = divergence[is_own].mean()
loss.backward()
print("loss:", loss.item(), " gradient:", student_logits.grad.norm().item())

# What is no distribution is refused. The whole vocabulary, as log-probabilities:
print("forward KL:", forward_kl(student.whole(), teacher.whole())[is_own].mean().item())
try:
    forward_kl(student_logits, teacher_logits)
except ValueError as error:
    print("refused:", error)
