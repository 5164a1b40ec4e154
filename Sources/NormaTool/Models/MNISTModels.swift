import NormaData
import NormaExperiment
import NormaModels
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
    try digits(setting) { [network] in
      let plain = network.mnistDense(.none, $0)
      return (plain.hidden, plain.dropout)
    } network: { [network] in
      network.mnistDense($0, $1)
    }
  }

  /// Digits row by row, by an LSTM.
  func mnistLSTM(_ setting: Setting) throws -> Prepared<ImageWorkload> {
    try digits(setting) { [network] in
      let plain = try network.mnistLSTM(.none, $0)
      return (Array(repeating: plain.hidden, count: plain.layers), plain.dropout)
    } network: { [network] in
      try network.mnistLSTM($0, $1)
    }
  }

  private func digits(
    _ setting: Setting, told: (ImageShape) throws -> (hidden: [Int], dropout: Double),
    network: @escaping (Normalization, ImageShape) throws -> any NetworkConfiguration
  ) throws -> Prepared<ImageWorkload> {
    let loaded = try data.loadClasses(
      side: SyntheticDigits.side, count: model.defaults.syntheticImages, isRepeated: setting.isRepeated,
      earlier: setting.earlier
    ) { count, seed in
      SyntheticDigits(count: count, seed: seed).make()
    }
    let shape = loaded.shape
    let (hidden, dropout) = try told(shape)
    return try images(
      loaded, setting, augmentation: (training.augment ?? .none).ofWholeImages(shift: 2, for: model),
      ImageModel(
        network: { try network($0.normalization, shape) },
        configuration: ["hidden": hidden.map(String.init).joined(separator: ","), "dropout": "\(dropout)"]))
  }
}
