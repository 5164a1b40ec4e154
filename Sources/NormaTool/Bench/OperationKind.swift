/// What an operator of libtorch does in a training step, by its name.
enum OperationKind: String, CaseIterable, Encodable {
  case convolutionForward = "convolution forward"
  case convolutionBackward = "convolution backward"
  case normalization
  case activation
  case pooling
  case upsampling
  case concatenation
  case padding
  case loss
  case optimizer
  case copies = "copies and casts"
  case other

  /// - Parameter name: of an operator (`aten::add_`), a node of the record (`AddBackward0`), also inside the engine's
  ///   own words for it (`autograd::engine::evaluate_function: AddBackward0`), or a custom function.
  init(operation name: String) {
    let word = name.split(separator: " ").last.map(String.init) ?? ""
    let parts = word.split(separator: ":", omittingEmptySubsequences: true)
    // Norma's own kernels are those of its norms.
    if parts.count > 1, parts[0] == "norma" {
      self = .normalization
      return
    }
    self = Self.kinds[Self.stem(String(parts.last ?? ""))] ?? .other
  }

  /// The name without what tells apart forms of one operator: the in-place underscore, a node's number.
  private static func stem(_ name: String) -> String {
    var name = name[...]
    if let range = name.firstRange(of: "Backward"), name[range.upperBound...].allSatisfy(\.isNumber) {
      name = name[..<range.upperBound]
    }
    while name.hasSuffix("_") { name.removeLast() }
    return String(name)
  }

  private static let kinds: [String: OperationKind] = {
    var kinds: [String: OperationKind] = [:]
    for (kind, names) in names {
      for name in names.split(separator: " ") { kinds[String(name)] = kind }
    }
    return kinds
  }()

  private static let names: [(OperationKind, String)] = [
    (
      .convolutionForward,
      """
      conv1d conv2d conv3d convolution _convolution mkldnn_convolution convolution_overrideable thnn_conv2d \
      _slow_conv2d_forward slow_conv3d slow_conv3d_forward slow_conv_dilated2d slow_conv_dilated3d conv_transpose2d \
      slow_conv_transpose2d _conv_depthwise2d _nnpack_spatial_convolution cudnn_convolution mkldnn_reorder_conv2d_weight
      """
    ),
    (
      .convolutionBackward,
      """
      ConvolutionBackward convolution_backward convolution_backward_overrideable mkldnn_convolution_backward \
      mkldnn_convolution_backward_input mkldnn_convolution_backward_weights _slow_conv2d_backward
      """
    ),
    (
      .normalization,
      """
      normalization normalizationBackward batch_norm _batch_norm_impl_index batch_norm_update_stats native_batch_norm \
      native_batch_norm_backward _native_batch_norm_legit cudnn_batch_norm NativeBatchNormBackward group_norm \
      native_group_norm native_group_norm_backward NativeGroupNormBackward layer_norm native_layer_norm \
      native_layer_norm_backward NativeLayerNormBackward instance_norm
      """
    ),
    (
      .activation,
      "relu ReluBackward threshold threshold_backward leaky_relu leaky_relu_backward LeakyReluBackward"
    ),
    (
      .pooling,
      """
      max_pool2d max_pool2d_with_indices max_pool2d_with_indices_backward MaxPool2DWithIndicesBackward mkldnn_max_pool2d \
      mkldnn_max_pool2d_backward avg_pool2d avg_pool2d_backward AvgPool2DBackward
      """
    ),
    (.upsampling, "interleave upsample_nearest2d upsample_nearest2d_backward UpsampleNearest2DBackward"),
    (.concatenation, "cat concat _cat CatBackward"),
    (
      .padding,
      "pad constant_pad_nd ConstantPadNdBackward reflection_pad2d reflection_pad2d_backward ReflectionPad2DBackward"
    ),
    (
      .loss,
      """
      binary_cross_entropy_with_logits BinaryCrossEntropyWithLogitsBackward cross_entropy_loss log_softmax _log_softmax \
      _log_softmax_backward_data LogSoftmaxBackward nll_loss nll_loss_nd nll_loss2d nll_loss2d_forward \
      nll_loss2d_backward NllLoss2DBackward log_sigmoid log_sigmoid_forward log_sigmoid_backward sigmoid \
      sigmoid_backward SigmoidBackward
      """
    ),
    (.optimizer, "_fused_adam _fused_adamw _fused_sgd _fused_adagrad"),
    (
      .copies,
      "copy to _to_copy ToCopyBackward clone CloneBackward contiguous CopyBackwards mkldnn_reorder to_dense to_mkldnn"
    ),
  ]
}

/// The time of all operations of one kind.
struct OperationRow: Equatable, Encodable {
  let kind: OperationKind
  let calls: Int
  let seconds: Double

  /// One row per kind that occurs, the longest first.
  ///
  /// - Parameter operations: every operator's own time, without that of the operators it calls, so that nothing is
  ///   counted twice.
  static func rows(_ operations: [(name: String, calls: Int, seconds: Double)]) -> [OperationRow] {
    var totals: [OperationKind: (calls: Int, seconds: Double)] = [:]
    for operation in operations {
      let total = totals[OperationKind(operation: operation.name), default: (0, 0)]
      totals[OperationKind(operation: operation.name)] = (
        total.calls + operation.calls, total.seconds + operation.seconds
      )
    }
    // In the order of the kinds where times are equal.
    return OperationKind.allCases.compactMap { kind in
      totals[kind].map { OperationRow(kind: kind, calls: $0.calls, seconds: $0.seconds) }
    }.sorted { $0.seconds > $1.seconds }
  }
}
