"""Every model that can be declared, and peers, on the same clicks of KuaiRand."""
