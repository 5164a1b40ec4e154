import NormaData
import NormaExperiment
import NormaModels
import NormaNN
import NormaNormalization

extension NetworkOptions {
  func mnistDense(_ norm: Normalization, _ images: ImageShape) -> MNISTDense.Options {
    var options = MNISTDense.Options()
    (options.inputChannels, options.height, options.width) = (images.channels, images.height, images.width)
    options.classes = images.classes
    options.hidden = hidden?.values ?? options.hidden
    options.dropout = dropout ?? options.dropout
    options.normalization = norm
    return options
  }

  /// - Throws: ``ToolError`` for images or layers that the network cannot have.
  func mnistLSTM(_ norm: Normalization, _ images: ImageShape) throws -> MNISTLSTM.Options {
    var options = MNISTLSTM.Options()
    let hidden = hidden?.values ?? [options.hidden]
    guard Set(hidden).count == 1, images.channels == 1 else {
      throw ToolError(
        "the LSTM takes grey images and as many hidden units in every layer, got \(images.channels) channels and "
          + "--hidden \(hidden.map(String.init).joined(separator: ","))")
    }
    (options.width, options.height) = (images.width, images.height)
    options.classes = images.classes
    (options.hidden, options.layers) = (hidden[0], hidden.count)
    options.dropout = dropout ?? options.dropout
    options.normalization = norm
    return options
  }
}

extension Comparison {
  /// Digits by fully connected layers.
  func mnistDense(_ setting: Setting) throws -> Prepared<ImageWorkload> {
    try digits(setting) { shape in
      func options(_ norm: Normalization) -> MNISTDense.Options { network.mnistDense(norm, shape) }
      return ImageModel(
        network: {
          try MNISTDense(options($0.normalization), generator: $1.weights, dropoutGenerator: $1.dropout)
        },
        check: { try options($0.normalization).validate() },
        metadata: { ($0 as? MNISTDense)?.options.metadata ?? [:] },
        configuration: Self.configuration(hidden: options(.none).hidden, dropout: options(.none).dropout))
    }
  }

  /// Digits row by row, by an LSTM.
  func mnistLSTM(_ setting: Setting) throws -> Prepared<ImageWorkload> {
    try digits(setting) { shape in
      func options(_ norm: Normalization) throws -> MNISTLSTM.Options { try network.mnistLSTM(norm, shape) }
      let plain = try options(.none)
      return ImageModel(
        network: {
          try MNISTLSTM(options($0.normalization), generator: $1.weights, dropoutGenerator: $1.dropout)
        },
        check: { try options($0.normalization).validate() },
        metadata: { ($0 as? MNISTLSTM)?.options.metadata ?? [:] },
        configuration: Self.configuration(
          hidden: Array(repeating: plain.hidden, count: plain.layers), dropout: plain.dropout))
    }
  }

  private static func configuration(hidden: [Int], dropout: Double) -> [String: String] {
    ["hidden": hidden.map(String.init).joined(separator: ","), "dropout": "\(dropout)"]
  }

  private func digits(
    _ setting: Setting, _ make: (ImageShape) throws -> ImageModel
  ) throws -> Prepared<ImageWorkload> {
    let loaded = try data.loadClasses(
      side: SyntheticDigits.side, count: model.defaults.syntheticImages, isRepeated: setting.isRepeated,
      earlier: setting.earlier
    ) { count, seed in
      SyntheticDigits(count: count, seed: seed).make()
    }
    return try images(
      loaded, setting, augmentation: (training.augment ?? .none).ofWholeImages(shift: 2, for: model),
      make(loaded.shape))
  }
}
