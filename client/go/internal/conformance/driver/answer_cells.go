package main

import (
	"context"

	mlxwire "github.com/mlxwire/mlxwire/client/go"
)

// tools returns the option of a cell's tool, if it has one.
func (c *cell) tools() []mlxwire.RequestOption {
	if !c.Tools {
		return nil
	}
	return []mlxwire.RequestOption{mlxwire.WithTools(mlxwire.Tool{Name: "add"})}
}

// readAnswer reads an answer with thoughts and tool calls by the client's own helpers.
func readAnswer(c *cell) (answer, error) {
	worker, model, err := begin()
	if err != nil {
		return nil, err
	}
	defer worker.Close()
	stream, err := model.ChatStream(context.Background(), mlxwire.UserTurn(c.Prompt), c.tools()...)
	if err != nil {
		return nil, err
	}
	text, err := stream.Text()
	if err != nil {
		return nil, err
	}
	thoughts, err := stream.Thoughts()
	if err != nil {
		return nil, err
	}
	complete, err := stream.ToolCalls()
	calls := make([][3]string, len(complete))
	for i, call := range complete {
		calls[i] = [3]string{call.ID, call.Name, call.Arguments}
	}
	told := outcomeOf(err)
	told["text"], told["thoughts"], told["calls"], told["tool_error"] = text, thoughts, calls, nil
	if done, _ := stream.Done(); done.ToolError != nil {
		told["tool_error"] = done.ToolError.Message
	}
	return told, nil
}
