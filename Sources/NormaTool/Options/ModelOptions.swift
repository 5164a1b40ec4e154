import ArgumentParser
import NormaExchange
import NormaFormats
import NormaModels
import NormaNN
import NormaNormalization
import NormaReport

/// A trained network on disk.
struct ModelOptions: ParsableArguments {
  @Option(
    help: ArgumentHelp(
      "Folder of a run, or a safetensors file of weights; one from PyTorch with the same keys needs --norm (a U-Net's) or --like too.",
      valueName: "path"), completion: .file())
  var model: String

  @Option(
    help: ArgumentHelp("Which of the run's trainings, as in the names of its files: weights-NAME.", valueName: "name"))
  var run: String?

  @Option(help: ArgumentHelp("best or last: after which epoch of norma train. (default: best)", valueName: "epoch"))
  var weights: Weights?

  enum Weights: String, ExpressibleByArgument, CaseIterable {
    case best, last
  }

  @Option(
    help: ArgumentHelp("The normalization, for weights that do not tell it. \(NormHelp.options)", valueName: "name"),
    transform: { try Normalization(parsing: $0) })
  var norm: Normalization?

  @Option(
    help: ArgumentHelp(
      "Weights that norma wrote, from which to take what those of --model do not tell, such as after training on in PyTorch: the "
        + "architecture, its options, how the input is scaled.", valueName: "path"), completion: .file())
  var like: String?

  struct Loaded {
    let path: String
    let network: any Layer
    let options: any NetworkConfiguration
    /// Of the weights' file; empty for those of another program.
    let metadata: [String: String]
  }

  /// The network with its weights, in evaluation mode.
  func load() throws -> Loaded {
    let path = try weightsPath()
    let file = try SafetensorsReader(path)
    guard file.metadata["checkpoint"] == nil else {
      throw ToolError("'\(path)' is a checkpoint; finish its training by --resume and give the run's folder")
    }
    var metadata = file.metadata
    if let like {
      guard metadata["architecture"] == nil else {
        throw ToolError("the weights in '\(path)' tell their architecture themselves: leave out --like")
      }
      metadata.merge(try SafetensorsReader(like).metadata) { own, _ in own }
    }
    var options: any NetworkConfiguration
    do { options = try self.options(of: file, metadata) } catch let error as FormatError {
      throw error
    } catch {
      throw ToolError("the weights in '\(path)' cannot be used: \(error)")
    }
    if let norm { options.normalization = norm }
    let network = try options.network(generator: nil, dropoutGenerator: nil)
    do { try network.loadWeights(from: file) } catch {
      let told = metadata["norm"].map {
        $0 == options.normalization.name ? "" : " (its metadata tell the norm \($0))"
      }
      throw ToolError("'\(path)'\(told ?? ""): \(error)")
    }
    network.evaluate()
    return Loaded(path: path, network: network, options: options, metadata: metadata)
  }

  /// What the file tells of its network, which is made only after this: as large as the file's tensors say.
  private func options(
    of file: SafetensorsReader, _ metadata: [String: String]
  ) throws -> any NetworkConfiguration {
    let shapes = Dictionary(uniqueKeysWithValues: file.entries.map { ($0.name, $0.shape) })
    guard metadata["architecture"] != nil else {
      // Weights of another program: those of a U-Net tell all but the norm.
      let options = try UNet.Options(shapes: shapes)
      guard norm != nil else {
        throw ToolError(
          "it does not tell its normalization; give it with --norm, or weights of norma's that do with --like")
      }
      return options
    }
    let options = try networkConfiguration(metadata: metadata)
    if let told = (options as? UNet.Options)?.metadata {
      let found = try UNet.Options(shapes: shapes).metadata
      let seen = [
        "input_channels", "output_channels", "width", "depth", "upsampling", "residual", "dimensions", "head",
      ]
      for key in seen where told[key] != found[key] {
        throw ToolError("its metadata tell \(key) \(told[key] ?? ""), its tensors \(found[key] ?? ""); it is damaged")
      }
    }
    for (key, shape) in options.largestShapes where shapes[key] != shape {
      throw ToolError(
        "by its metadata '\(key)' has the shape \(shape), but it has "
          + (shapes[key].map { "\($0)" } ?? "no tensor of this name") + "; it is damaged")
    }
    return options
  }

  private func weightsPath() throws -> String {
    guard Folder.isFolder(model) else {
      for (name, value) in [("run", run), ("weights", weights?.rawValue)] {
        if let value {
          throw ToolError("--\(name) \(value) chooses from a run's folder, but '\(model)' is a file; leave it out")
        }
      }
      return model
    }
    let results = "\(model)/results.json"
    guard Folder.exists(results) else {
      throw ToolError("the folder '\(model)' holds no results.json; give the folder of a run or a safetensors file")
    }
    func path(_ stem: String) -> String { "\(model)/weights-\(weights == .last ? "last-" : "")\(stem).safetensors" }
    let stems = try ResultsFile.read(results).runs.map(\.fileStem).filter { Folder.exists(path($0)) }
    guard let first = stems.first else {
      throw ToolError(
        weights == .last
          ? "the run in '\(model)' has no weights of last epochs, which norma train keeps; take those of the best one"
          : "the run in '\(model)' has no weights yet; let it finish a training")
    }
    if let run {
      guard stems.contains(run) else {
        throw ToolError("the run in '\(model)' has no training '\(run)'; it has \(stems.joined(separator: ", "))")
      }
      return path(run)
    }
    guard stems.count == 1 else {
      throw ToolError(
        "the run in '\(model)' has \(stems.count) trainings; choose one with --run: \(stems.joined(separator: ", "))")
    }
    return path(first)
  }
}
