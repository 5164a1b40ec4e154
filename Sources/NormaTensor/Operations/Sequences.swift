// libtorch's operators for sequences, batch first.
extension Tensor {
  /// All layers of an LSTM over [N, T, features].
  /// - Parameters:
  ///   - hidden, cell: the first states, [layers · directions, N, H].
  ///   - parameters: weight [4H, in], weight [4H, H], bias [4H] and bias [4H] for every direction of every layer.
  ///   - training: whether gradients may be asked for.
  /// - Returns: [N, T, H · directions] and the last states.
  public func lstm(
    hidden: Tensor, cell: Tensor, parameters: [Tensor], layers: Int, bidirectional: Bool, training: Bool
  ) throws -> (output: Tensor, hidden: Tensor, cell: Tensor) {
    let results = try Op.lstm.all(
      .tensor(self), .tensors([hidden, cell]), .tensors(parameters), true, .int(layers), 0.0, .bool(training),
      .bool(bidirectional), true)
    guard results.count == 3, let output = results[0], let hidden = results[1], let cell = results[2] else {
      throw TensorError(operation: "lstm", message: "libtorch returned no states")
    }
    return (output, hidden, cell)
  }

  /// All layers of a GRU over [N, T, features]; as ``lstm(hidden:cell:parameters:layers:bidirectional:training:)`` with 3H in
  /// the place of 4H.
  public func gru(
    hidden: Tensor, parameters: [Tensor], layers: Int, bidirectional: Bool, training: Bool
  ) throws -> (output: Tensor, hidden: Tensor) {
    let results = try Op.gru.all(
      .tensor(self), .tensor(hidden), .tensors(parameters), true, .int(layers), 0.0, .bool(training),
      .bool(bidirectional), true)
    guard results.count == 2, let output = results[0], let hidden = results[1] else {
      throw TensorError(operation: "gru", message: "libtorch returned no state")
    }
    return (output, hidden)
  }

  /// softmax(q kᵀ / √d) v for queries [..., T, d], keys [..., S, d] and values [..., S, e].
  /// - Parameter mask: bool, broadcast to [..., T, S]; false where a query does not see a key.
  public func attention(keys: Tensor, values: Tensor, mask: Tensor? = nil) throws -> Tensor {
    try Op.attention(.tensor(self), .tensor(keys), .tensor(values), .optional(mask))
  }
}

extension Op {
  static let lstm = Operator("aten::lstm", "input")
  static let gru = Operator("aten::gru", "input")
  static let attention = Operator("aten::scaled_dot_product_attention")
}
