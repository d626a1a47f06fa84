// A client of the official Go SDK: e2e-go --url URL --cutting-url URL --token TOKEN --era legacy|modern
//
// One line a check: `ok NAME` or `failed NAME: why`. `--cutting-url` leads to the same server, and breaks off the stream
// of a call after its first progress.
package main

import (
	"context"
	"flag"
	"fmt"
	"net/http"
	"os"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/modelcontextprotocol/go-sdk/mcp"
)

var (
	url        = flag.String("url", "", "the server")
	cuttingURL = flag.String("cutting-url", "", "the same server, by a way that breaks streams off")
	token      = flag.String("token", "", "a token that it accepts")
	era        = flag.String("era", "", "legacy or modern")
)

// Adds the token, and remembers the status of the last response.
type authorized struct {
	token string

	mutex  sync.Mutex
	status int
}

func (a *authorized) RoundTrip(request *http.Request) (*http.Response, error) {
	if a.token != "" {
		request = request.Clone(request.Context())
		request.Header.Set("Authorization", "Bearer "+a.token)
	}
	response, err := http.DefaultTransport.RoundTrip(request)
	if err == nil {
		a.mutex.Lock()
		a.status = response.StatusCode
		a.mutex.Unlock()
	}
	return response, err
}

func (a *authorized) last() int {
	a.mutex.Lock()
	defer a.mutex.Unlock()
	return a.status
}

func version() string {
	if *era == "legacy" {
		return "2025-11-25"
	}
	return "2026-07-28"
}

// A client, with what it hears.
type connection struct {
	*mcp.ClientSession
	changes chan struct{}

	mutex sync.Mutex
	steps []step
}

type step struct {
	progress float64
	at       time.Time
}

func connect(ctx context.Context, url string, transport http.RoundTripper) (*connection, error) {
	connection := &connection{changes: make(chan struct{}, 10)}
	client := mcp.NewClient(&mcp.Implementation{Name: "e2e-go", Version: "0.1.0"}, &mcp.ClientOptions{
		ElicitationHandler: enterForm,
		CreateMessageHandler: func(context.Context, *mcp.CreateMessageRequest) (*mcp.CreateMessageResult, error) {
			content := &mcp.TextContent{Text: "Paris, said the model"}
			return &mcp.CreateMessageResult{Model: "e2e", Role: "assistant", Content: content}, nil
		},
		ProgressNotificationHandler: func(_ context.Context, request *mcp.ProgressNotificationClientRequest) {
			connection.mutex.Lock()
			defer connection.mutex.Unlock()
			connection.steps = append(connection.steps, step{request.Params.Progress, time.Now()})
		},
		ToolListChangedHandler: func(context.Context, *mcp.ToolListChangedRequest) {
			connection.changes <- struct{}{}
		},
	})
	streamable := &mcp.StreamableClientTransport{Endpoint: url, HTTPClient: &http.Client{Transport: transport}}
	session, err := client.Connect(ctx, streamable, &mcp.ClientSessionOptions{ProtocolVersion: version()})
	connection.ClientSession = session
	return connection, err
}

func enterForm(_ context.Context, request *mcp.ElicitRequest) (*mcp.ElicitResult, error) {
	schema, _ := request.Params.RequestedSchema.(map[string]any)
	fields, _ := schema["properties"].(map[string]any)
	content := map[string]any{}
	for field := range fields {
		content[field] = "Ada"
	}
	return &mcp.ElicitResult{Action: "accept", Content: content}, nil
}

func (c *connection) call(ctx context.Context, name string, arguments map[string]any) (string, error) {
	params := &mcp.CallToolParams{Name: name, Arguments: arguments}
	params.SetProgressToken("steps-of-" + name)
	result, err := c.CallTool(ctx, params)
	if err != nil {
		return "", err
	}
	text := ""
	for _, content := range result.Content {
		if part, ok := content.(*mcp.TextContent); ok {
			text += part.Text
		}
	}
	if result.IsError {
		return "", fmt.Errorf("the tool says: %s", text)
	}
	return text, nil
}

// The steps of a call, and when it ended.
func (c *connection) progress(ctx context.Context) ([]step, time.Time, error) {
	_, err := c.call(ctx, "progress", map[string]any{"steps": 6, "delayMs": 100})
	end := time.Now()
	// Notifications are handled beside the result, and may still be.
	for deadline := end.Add(5 * time.Second); err == nil && len(c.told()) < 6 && time.Now().Before(deadline); {
		time.Sleep(10 * time.Millisecond)
	}
	return c.told(), end, err
}

func (c *connection) told() []step {
	c.mutex.Lock()
	defer c.mutex.Unlock()
	return slices.Clone(c.steps)
}

func check(name string, run func() error) {
	if err := run(); err != nil {
		fmt.Printf("failed %s: %s\n", name, strings.ReplaceAll(err.Error(), "\n", " "))
		return
	}
	fmt.Printf("ok %s\n", name)
}

func expect(holds bool, what string, arguments ...any) error {
	if holds {
		return nil
	}
	return fmt.Errorf("expected "+what, arguments...)
}

func main() {
	flag.Parse()
	ctx, cancel := context.WithTimeout(context.Background(), 2*time.Minute)
	defer cancel()
	legacy := *era == "legacy"

	check("a call without a token is refused", func() error {
		anonymous := &authorized{}
		_, err := connect(ctx, *url, anonymous)
		return expect(err != nil && anonymous.last() == http.StatusUnauthorized, "a 401, got %d", anonymous.last())
	})
	client, err := connect(ctx, *url, &authorized{token: *token})
	if err != nil {
		fmt.Printf("failed connect: %v\n", err)
		os.Exit(1)
	}
	check("the revision is negotiated", func() error {
		negotiated := client.InitializeResult().ProtocolVersion
		return expect(negotiated == version(), "%s, got %s", version(), negotiated)
	})
	names := []string{}
	check("tools are listed", func() error {
		tools, err := client.ListTools(ctx, nil)
		if err != nil {
			return err
		}
		for _, tool := range tools.Tools {
			names = append(names, tool.Name)
		}
		return expect(slices.Contains(names, "echo"), "echo among %v", names)
	})
	check("a tool is called", func() error {
		text, err := client.call(ctx, "echo", map[string]any{"text": "häßlich & 日本"})
		if err != nil {
			return err
		}
		return expect(strings.Contains(text, "häßlich & 日本"), "the text back, got %s", text)
	})
	check("progress arrives while the call runs", func() error {
		steps, end, err := client.progress(ctx)
		if err != nil {
			return err
		}
		if len(steps) != 6 {
			return fmt.Errorf("expected 6 steps, got %d", len(steps))
		}
		// Five pauses lie between the first step and the result. Gathered events would come together.
		return expect(end.Sub(steps[0].at) > 250*time.Millisecond, "steps one by one")
	})
	if slices.Contains(names, "test_elicitation") {
		check("the server asks the user", func() error {
			return client.asks(ctx, legacy, "test_elicitation", map[string]any{"message": "Who are you?"}, "Ada")
		})
		check("the server asks the model", func() error {
			return client.asks(ctx, legacy, "test_sampling", map[string]any{"prompt": "Which capital?"}, "Paris")
		})
	}
	if legacy {
		check("a stream that breaks off is taken up again", func() error { return takesUpAgain(ctx) })
		check("a session that was ended is gone", func() error { return isGone(ctx, client) })
	} else if slices.Contains(names, "test_trigger_tool_change") {
		check("a listener is told of changes", func() error { return isTold(ctx, client) })
	}
	client.Close()
}

// By a request of the server's, or by a result that wants the call again with the answers.
func (c *connection) asks(ctx context.Context, legacy bool, tool string, arguments map[string]any, answer string) error {
	if !legacy {
		tool, arguments = strings.Replace(tool, "test_", "test_input_required_result_", 1), map[string]any{}
	}
	text, err := c.call(ctx, tool, arguments)
	if err != nil {
		return err
	}
	return expect(strings.Contains(text, answer), "%s, got %s", answer, text)
}

func takesUpAgain(ctx context.Context) error {
	client, err := connect(ctx, *cuttingURL, &authorized{token: *token})
	if err != nil {
		return err
	}
	defer client.Close()
	steps, _, err := client.progress(ctx)
	if err != nil {
		return err
	}
	told := []float64{}
	for _, step := range steps {
		told = append(told, step.progress)
	}
	return expect(slices.Equal(told, []float64{1, 2, 3, 4, 5, 6}), "each step once, got %v", told)
}

// The SDK ends its session with the connection.
func isGone(ctx context.Context, client *connection) error {
	session := client.ID()
	if err := client.Close(); err != nil {
		return err
	}
	message := strings.NewReader(`{"jsonrpc":"2.0","id":1,"method":"tools/list"}`)
	request, err := http.NewRequestWithContext(ctx, http.MethodPost, *url, message)
	if err != nil {
		return err
	}
	request.Header.Set("Accept", "application/json, text/event-stream")
	request.Header.Set("Content-Type", "application/json")
	request.Header.Set("Mcp-Protocol-Version", version())
	request.Header.Set("Mcp-Session-Id", session)
	response, err := (&authorized{token: *token}).RoundTrip(request)
	if err != nil {
		return err
	}
	defer response.Body.Close()
	return expect(session != "" && response.StatusCode == http.StatusNotFound, "a 404, got %d", response.StatusCode)
}

func isTold(ctx context.Context, client *connection) error {
	if _, err := client.call(ctx, "test_trigger_tool_change", nil); err != nil {
		return err
	}
	select {
	case <-client.changes:
		return nil
	case <-time.After(10 * time.Second):
		return fmt.Errorf("no notification came")
	}
}
