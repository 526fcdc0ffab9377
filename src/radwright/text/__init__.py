"""Report text: cleaning, sections, sentences, tokenizers."""
