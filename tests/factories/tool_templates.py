"""Chat templates that render tools, calls and results in the shapes of the published families.

Each has what sets its family apart: the form of the arguments, of an empty content, of ids and of several
calls in one turn.
"""

from __future__ import annotations

from . import templates

HERMES = """\
{%- if tools %}
    {{- '<|im_start|>system\\nYou are a function calling AI model. <tools> ' }}
    {%- for tool in tools %}{{- tool.function | tojson }}{{ '\\n' if not loop.last }}{%- endfor %}
    {{- ' </tools><|im_end|>\\n' }}
{%- endif %}
{%- for message in messages %}
    {{- '<|im_start|>' + message.role + '\\n' }}
    {%- if message.role == 'tool' %}
        {{- '<tool_response>\\n{"name": "' + message.name + '", "content": ' }}
        {{- (message.content | tojson) + '}\\n</tool_response>' }}
    {%- else %}
        {{- message.content }}
        {%- for call in message.tool_calls or [] %}
            {{- '<tool_call>\\n' + ({"name": call.function.name, "arguments": call.function.arguments} | tojson) }}
            {{- '\\n</tool_call>' }}
        {%- endfor %}
    {%- endif %}
    {{- '<|im_end|>\\n' }}
{%- endfor %}
{%- if add_generation_prompt %}{{- '<|im_start|>assistant\\n' }}{%- endif %}
"""

QWEN3_CODER = """\
{%- macro known(tools) %}
    {%- for tool in tools %}
        {{- '\\n<function>\\n<name>' ~ tool.function.name ~ '</name>\\n<parameters>' }}
        {%- for name, fields in tool.function.parameters.properties | items %}
            {{- '\\n<parameter>\\n<name>' ~ name ~ '</name>\\n<type>' ~ (fields.type | string) ~ '</type>\\n</parameter>' }}
        {%- endfor %}
        {{- '\\n</parameters>\\n</function>' }}
    {%- endfor %}
{%- endmacro %}
{%- if tools is iterable and tools | length > 0 %}
    {{- '<|im_start|>system\\n<tools>' + known(tools) + '\\n</tools><|im_end|>\\n' }}
{%- endif %}
{%- for message in messages %}
    {%- if message.role == 'tool' %}
        {{- '<|im_start|>user\\n<tool_response>\\n' + message.content + '\\n</tool_response>\\n<|im_end|>\\n' }}
    {%- else %}
        {{- '<|im_start|>' + message.role + '\\n' + (message.content or '') }}
        {%- for call in message.tool_calls or [] %}
            {{- '\\n<tool_call>\\n<function=' + call.function.name + '>\\n' }}
            {%- for name, value in call.function.arguments | items %}
                {{- '<parameter=' + name + '>\\n' }}
                {{- value if value is string else value | tojson }}
                {{- '\\n</parameter>\\n' }}
            {%- endfor %}
            {{- '</function>\\n</tool_call>' }}
        {%- endfor %}
        {{- '<|im_end|>\\n' }}
    {%- endif %}
{%- endfor %}
{%- if add_generation_prompt %}{{- '<|im_start|>assistant\\n' }}{%- endif %}
"""

MISTRAL = """\
{{- bos_token }}
{%- for message in messages %}
    {%- if message.role == 'user' %}
        {%- if tools is not none and loop.last %}{{- '[AVAILABLE_TOOLS]' + (tools | tojson) + '[/AVAILABLE_TOOLS]' }}
        {%- elif tools is not none and messages | selectattr('role', 'equalto', 'user') | list | length == 1 %}
            {{- '[AVAILABLE_TOOLS]' + (tools | tojson) + '[/AVAILABLE_TOOLS]' }}
        {%- endif %}
        {{- '[INST]' + message.content + '[/INST]' }}
    {%- elif message.tool_calls is defined and message.tool_calls is not none %}
        {{- '[TOOL_CALLS][' }}
        {%- for call in message.tool_calls %}
            {{- (call.function | tojson)[:-1] }}
            {%- if not call.id is defined or call.id | length != 9 %}
                {{- raise_exception("Tool call IDs should be alphanumeric strings with length 9!") }}
            {%- endif %}
            {{- ', "id": "' + call.id + '"}' + (']' + eos_token if loop.last else ', ') }}
        {%- endfor %}
    {%- elif message.role == 'assistant' %}
        {{- ' ' + message.content + eos_token }}
    {%- elif message.role == 'tool' %}
        {%- if not message.tool_call_id is defined or message.tool_call_id | length != 9 %}
            {{- raise_exception("Tool call IDs should be alphanumeric strings with length 9!") }}
        {%- endif %}
        {{- '[TOOL_RESULTS]{"content": ' ~ message.content ~ ', "call_id": "' ~ message.tool_call_id ~ '"}[/TOOL_RESULTS]' }}
    {%- else %}
        {{- raise_exception("Only user, assistant and tool roles are supported") }}
    {%- endif %}
{%- endfor %}
"""

DEEPSEEK_V3 = """\
{{- bos_token }}
{%- if tools %}{{- '## Tools\\n' }}{% for tool in tools %}{{ '\\n### ' + tool.function.name + '\\n' + (tool.function.parameters | tojson) }}{% endfor %}{% endif %}
{%- for message in messages %}
    {%- if message['role'] == 'system' %}{{- message['content'] }}
    {%- elif message['role'] == 'user' %}{{- '<｜User｜>' + message['content'] }}
    {%- elif message['role'] == 'assistant' and message['content'] is none %}
        {{- '<｜Assistant｜><｜tool▁calls▁begin｜>' }}
        {%- for call in message['tool_calls'] %}
            {{- '<｜tool▁call▁begin｜>' + call['type'] + '<｜tool▁sep｜>' + call['function']['name'] }}
            {{- '\\n```json\\n' + call['function']['arguments'] + '\\n```<｜tool▁call▁end｜>' }}
        {%- endfor %}
        {{- '<｜tool▁calls▁end｜><｜end▁of▁sentence｜>' }}
    {%- elif message['role'] == 'assistant' %}
        {{- '<｜Assistant｜>' + message['content'] + '<｜end▁of▁sentence｜>' }}
    {%- elif message['role'] == 'tool' %}
        {{- '<｜tool▁output▁begin｜>' + message['content'] + '<｜tool▁output▁end｜>' }}
    {%- endif %}
{%- endfor %}
{%- if add_generation_prompt %}{{- '<｜Assistant｜>' }}{%- endif %}
"""

GPT_OSS = """\
{{- '<|start|>system<|message|>Reasoning: medium<|end|>' }}
{%- if tools %}
    {{- '<|start|>developer<|message|>namespace functions {' }}
    {%- for tool in tools %}{{- '\\ntype ' + tool.function.name + ' = (_: ' + (tool.function.parameters.properties | tojson) + ') => any;' }}{%- endfor %}
    {{- '\\n}<|end|>' }}
{%- endif %}
{%- set last = namespace(name=none) %}
{%- for message in messages %}
    {%- if message.role == 'assistant' and 'tool_calls' in message %}
        {%- if message.content and message.thinking %}
            {{- raise_exception("Cannot pass both content and thinking in an assistant message with tool calls!") }}
        {%- elif message.content %}
            {{- '<|start|>assistant<|channel|>analysis<|message|>' + message.content + '<|end|>' }}
        {%- elif message.thinking %}
            {{- '<|start|>assistant<|channel|>analysis<|message|>' + message.thinking + '<|end|>' }}
        {%- endif %}
        {%- set call = message.tool_calls[0].function %}
        {%- set last.name = call.name %}
        {{- '<|start|>assistant to=functions.' + call.name + '<|channel|>commentary json<|message|>' }}
        {{- (call.arguments | tojson) + '<|call|>' }}
    {%- elif message.role == 'assistant' %}
        {{- '<|start|>assistant<|channel|>final<|message|>' + message.content + '<|end|>' }}
    {%- elif message.role == 'tool' %}
        {%- if last.name is none %}
            {{- raise_exception("Message has tool role, but there was no previous assistant message with a tool call!") }}
        {%- endif %}
        {{- '<|start|>functions.' + last.name + ' to=assistant<|channel|>commentary<|message|>' }}
        {{- (message.content | tojson) + '<|end|>' }}
    {%- else %}
        {{- '<|start|>' + message.role + '<|message|>' + message.content + '<|end|>' }}
    {%- endif %}
{%- endfor %}
{%- if add_generation_prompt %}{{- '<|start|>assistant' }}{%- endif %}
"""

GLM = """\
[gMASK]<sop>
{%- if tools %}
    {{- '<|system|>\\n# Tools\\n<tools>\\n' }}
    {%- for tool in tools %}{{- (tool | tojson(ensure_ascii=False)) + '\\n' }}{%- endfor %}
    {{- '</tools>' }}
{%- endif %}
{%- for m in messages %}
    {%- if m.role == 'assistant' %}
        {{- '<|assistant|>' }}
        {%- if m.reasoning_content is string %}{{- '\\n<think>' + m.reasoning_content.strip() + '</think>' }}{%- endif %}
        {{- '\\n' + m.content.strip() if m.content.strip() }}
        {%- for tc in m.tool_calls or [] %}
            {{- '\\n<tool_call>' + tc.function.name }}
            {%- for k, v in tc.function.arguments.items() %}
                {{- '\\n<arg_key>' + k + '</arg_key>\\n<arg_value>' }}
                {{- v | tojson(ensure_ascii=False) if v is not string else v }}
                {{- '</arg_value>' }}
            {%- endfor %}
            {{- '\\n</tool_call>' }}
        {%- endfor %}
    {%- elif m.role == 'tool' %}
        {{- '<|observation|>\\n<tool_response>\\n' + m.content + '\\n</tool_response>' }}
    {%- else %}
        {{- '<|' + m.role + '|>\\n' + m.content }}
    {%- endif %}
{%- endfor %}
{%- if add_generation_prompt %}{{- '<|assistant|>\\n' }}{%- endif %}
"""

KIMI = """\
{%- if tools %}{{- '<|im_system|>tool_declare<|im_middle|>' + (tools | tojson(separators=(',', ':'))) + '<|im_end|>' }}{%- endif %}
{%- for message in messages %}
    {{- '<|im_' + (message.role if message.role in ('user', 'assistant') else 'system') + '|>' + (message.name or message.role) + '<|im_middle|>' }}
    {%- if message.role == 'tool' %}{{- '## Return of ' + message.tool_call_id + '\\n' }}{%- endif %}
    {{- message.content if message.content is string }}
    {%- if message.get('tool_calls') %}
        {{- '<|tool_calls_section_begin|>' }}
        {%- for call in message['tool_calls'] %}
            {{- '<|tool_call_begin|>' + call['id'] + '<|tool_call_argument_begin|>' }}
            {%- if call['function']['arguments'] is string %}{{- call['function']['arguments'] }}
            {%- else %}{{- call['function']['arguments'] | tojson }}{%- endif %}
            {{- '<|tool_call_end|>' }}
        {%- endfor %}
        {{- '<|tool_calls_section_end|>' }}
    {%- endif %}
    {{- '<|im_end|>' }}
{%- endfor %}
{%- if add_generation_prompt %}{{- '<|im_assistant|>assistant<|im_middle|>' }}{%- endif %}
"""

GEMMA4 = """\
{%- macro quoted(value) -%}
    {%- if value is string -%}{{ '<|"|>' + value + '<|"|>' }}
    {%- elif value is boolean -%}{{ 'true' if value else 'false' }}
    {%- elif value is mapping -%}
        {{- '{' }}{%- for key, inner in value | dictsort -%}{{ key + ':' + quoted(inner) }}{{ ',' if not loop.last }}{%- endfor -%}{{ '}' -}}
    {%- elif value is sequence -%}
        {{- '[' }}{%- for inner in value -%}{{ quoted(inner) }}{{ ',' if not loop.last }}{%- endfor -%}{{ ']' -}}
    {%- else -%}{{ value }}{%- endif -%}
{%- endmacro -%}
{{ bos_token }}
{%- if tools or messages[0].role == 'system' -%}
    {{- '<|turn>system\\n' -}}
    {%- if messages[0].role == 'system' -%}{{ messages[0].content | trim }}{%- endif -%}
    {%- for tool in tools or [] -%}{{ '<|tool>declaration:' + tool.function.name + quoted(tool.function.parameters) + '<tool|>' }}{%- endfor -%}
    {{- '<turn|>\\n' -}}
{%- endif -%}
{%- for message in messages if message.role != 'system' -%}
    {%- if message.role == 'tool' -%}
        {{ '<|tool_response>response:' + message.name + '{value:' + quoted(message.content) + '}<tool_response|>' }}
    {%- else -%}
        {{ '<|turn>' + ('model' if message.role == 'assistant' else message.role) + '\\n' }}
        {%- for call in message.tool_calls or [] -%}
            {{ '<|tool_call>call:' + call.function.name + quoted(call.function.arguments) + '<tool_call|>' }}
        {%- endfor -%}
        {{ (message.content or '') | trim }}{{ '<turn|>\\n' }}
    {%- endif -%}
{%- endfor -%}
{%- if add_generation_prompt -%}{{ '<|turn>model\\n' }}{%- endif -%}
"""

MINIMAX_M1 = """\
{%- if tools %}
    {{- '<|im_start|>system\\n<tools>\\n' }}
    {%- for tool in tools %}{{- tool | tojson + '\\n' }}{%- endfor %}
    {{- '</tools>\\nCall them as <tool_calls>\\n{"name": <name>, "arguments": <arguments>}\\n</tool_calls><|im_end|>\\n' }}
{%- endif %}
{%- for message in messages %}
    {{- '<|im_start|>' + message.role + '\\n' + (message.content or '') }}
    {%- for call in message.tool_calls or [] %}
        {{- '\\n<tool_calls>\\n' if loop.first }}
        {{- {"name": call.function.name, "arguments": call.function.arguments} | tojson }}
        {{- '\\n' }}{{- '</tool_calls>' if loop.last }}
    {%- endfor %}
    {{- '<|im_end|>\\n' }}
{%- endfor %}
{%- if add_generation_prompt %}{{- '<|im_start|>assistant\\n' }}{%- endif %}
"""

TOOL_TEMPLATES = {
    "hermes": HERMES,
    "qwen3": templates.QWEN3,
    "qwen3-coder": QWEN3_CODER,
    "llama3": templates.LLAMA3,
    "mistral": MISTRAL,
    "deepseek-v3": DEEPSEEK_V3,
    "gpt-oss": GPT_OSS,
    "glm": GLM,
    "kimi": KIMI,
    "gemma4": GEMMA4,
    "minimax-m1": MINIMAX_M1,
}
