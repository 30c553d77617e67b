// Package inference is the interface of backends that run language models in Go hosts: models
// by folder, streams as iter.Seq, and a registry of backends by name.
//
// Importing it registers the backend "mlx_lm", a worker process for each model. Build with the
// tag nomlxlm to leave that out.
//
//	model, err := inference.LoadModel("testdata/tiny")
//	if err != nil { … }
//	defer model.Close()
//	for token := range model.Generate(ctx, "2 + 3 =", inference.WithMaxTokens(8)) {
//		fmt.Print(token.Text)
//	}
//	if err := model.Err(); err != nil { … }
package inference
