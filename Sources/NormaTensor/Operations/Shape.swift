// Dimensions count from 0; negative ones from the end.
extension Tensor {
  /// The same elements in another shape; one extent may be -1. Copies only when the layout demands it.
  public func reshaped(_ shape: [Int]) throws -> Tensor { try Op.reshape(.tensor(self), .ints(shape)) }

  /// The same elements in another shape, without remembering that it is a view: for the output of a custom
  /// function. Nobody else may keep using `self`.
  public func reshapedAsFresh(_ shape: [Int]) throws -> Tensor {
    try Op.unsafeView(.tensor(self), .ints(shape))
  }

  /// The dimensions from `start` to `end` (inclusive) merged into one.
  public func flattened(from start: Int = 0, to end: Int = -1) throws -> Tensor {
    try Op.flatten(.tensor(self), .int(start), .int(end))
  }

  public func transposed(_ a: Int, _ b: Int) throws -> Tensor {
    try Op.transpose(.tensor(self), .int(a), .int(b))
  }

  public func permuted(_ dimensions: [Int]) throws -> Tensor {
    try Op.permute(.tensor(self), .ints(dimensions))
  }

  /// Repeats extents of 1 without copying; -1 keeps an extent.
  public func expanded(_ shape: [Int]) throws -> Tensor { try Op.expand(.tensor(self), .ints(shape)) }

  /// A view of this tensor's memory with any shape and strides, from an element on.
  public func strided(_ shape: [Int], _ strides: [Int], from start: Int) throws -> Tensor {
    try Op.asStrided(.tensor(self), .ints(shape), .ints(strides), .int(start))
  }

  /// Removes a dimension of extent 1.
  public func squeezed(_ dimension: Int) throws -> Tensor {
    try Op.squeeze(.tensor(self), .int(dimension))
  }

  /// Inserts a dimension of extent 1.
  public func unsqueezed(_ dimension: Int) throws -> Tensor {
    try Op.unsqueeze(.tensor(self), .int(dimension))
  }

  public static func concatenate(_ tensors: [Tensor], dimension: Int) throws -> Tensor {
    try Op.cat(.tensors(tensors), .int(dimension))
  }

  /// Joins tensors of one shape along a new dimension.
  public static func stack(_ tensors: [Tensor], dimension: Int = 0) throws -> Tensor {
    try Op.stack(.tensors(tensors), .int(dimension))
  }

  /// Pieces of the given extents along a dimension.
  public func split(_ extents: [Int], dimension: Int) throws -> [Tensor] {
    try Op.split.all(.tensor(self), .ints(extents), .int(dimension)).compactMap { $0 }
  }

  /// Pads with a constant: before and after the last dimension, then the one before it, …
  public func padded(_ amounts: [Int], value: Double = 0) throws -> Tensor {
    try Op.pad(.tensor(self), .ints(amounts), .double(value))
  }

  /// Pads the last two dimensions of [N, C, H, W] by mirroring at the border (which is not repeated): before
  /// and after the last one, then the one before it. Every amount must be less than the extent.
  public func paddedByReflection(_ amounts: [Int]) throws -> Tensor {
    try Op.reflectionPad(.tensor(self), .ints(amounts))
  }

  /// Reverses the order along the given dimensions.
  public func flipped(_ dimensions: [Int]) throws -> Tensor {
    try Op.flip(.tensor(self), .ints(dimensions))
  }
}

// MARK: - Indexing

extension Tensor {
  /// One index of a dimension, which disappears.
  public func selected(_ index: Int, dimension: Int = 0) throws -> Tensor {
    try Op.selectIndex(.tensor(self), .int(dimension), .int(index))
  }

  /// The indices `range` of a dimension, every `step`-th.
  public func sliced(_ range: Range<Int>, dimension: Int = 0, step: Int = 1) throws -> Tensor {
    try Op.slice(
      .tensor(self), .int(dimension), .int(range.lowerBound), .int(range.upperBound), .int(step))
  }

  /// The rows (entries along a dimension) that an int64 vector names.
  public func gatheredRows(_ indices: Tensor, dimension: Int = 0) throws -> Tensor {
    try Op.indexSelect(.tensor(self), .int(dimension), .tensor(indices))
  }

  /// The places of all nonzero elements of a tensor of one dimension: int64 [count].
  public func nonzeroIndices() throws -> Tensor { try Op.nonzero(.tensor(self)).squeezed(1) }

  /// The inverse of ``gatheredRows(_:dimension:)``: `count` rows, this tensor's at the given places, zeros elsewhere.
  public func scatteredRows(_ indices: Tensor, count: Int) throws -> Tensor {
    let zeros = try Tensor.zeros([count] + shape.dropFirst(), dtype: dtype, device: device)
    return try Op.indexAdd(.tensor(zeros), 0, .tensor(indices), .tensor(self))
  }

  /// result[i][j] = self[index[i][j]][j] for dimension 0, and so on.
  public func gathered(_ index: Tensor, dimension: Int) throws -> Tensor {
    try Op.gather(.tensor(self), .int(dimension), .tensor(index))
  }
}

extension Op {
  static let asStrided = Operator("aten::as_strided")
  static let reshape = Operator("aten::reshape")
  static let unsafeView = Operator("aten::_unsafe_view")
  static let flatten = Operator("aten::flatten", "using_ints")
  static let transpose = Operator("aten::transpose", "int")
  static let permute = Operator("aten::permute")
  static let expand = Operator("aten::expand")
  static let squeeze = Operator("aten::squeeze", "dim")
  static let unsqueeze = Operator("aten::unsqueeze")
  static let cat = Operator("aten::cat")
  static let stack = Operator("aten::stack")
  static let split = Operator("aten::split_with_sizes")
  static let pad = Operator("aten::constant_pad_nd")
  static let reflectionPad = Operator("aten::reflection_pad2d")
  static let flip = Operator("aten::flip")
  static let selectIndex = Operator("aten::select", "int")
  static let slice = Operator("aten::slice", "Tensor")
  static let indexSelect = Operator("aten::index_select")
  static let nonzero = Operator("aten::nonzero")
  static let indexAdd = Operator("aten::index_add")
  static let gather = Operator("aten::gather")
}
