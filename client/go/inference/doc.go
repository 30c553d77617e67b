// Package inference is an interface for backends that run language models in Go hosts: models are
// folders, streams are iter.Seq, and a registry finds backends by name.
//
// Importing the package registers the backend "mlx_lm", which runs a worker process for each model.
// The build tag nomlxlm leaves this backend out.
//
//	model, err := inference.LoadModel("testdata/tiny")
//	if err != nil { … }
//	defer model.Close()
//	for token := range model.Generate(ctx, "2 + 3 =", inference.WithMaxTokens(8)) {
//		fmt.Print(token.Text)
//	}
//	if err := model.Err(); err != nil { … }
package inference
