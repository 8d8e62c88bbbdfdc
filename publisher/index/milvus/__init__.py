"""An index in a Milvus, which lies elsewhere and is asked over the network."""
