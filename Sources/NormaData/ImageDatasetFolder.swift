import NormaFormats

extension ImageDataset {
  /// The images of a folder in one of the forms that data sets come in: MNIST's two or four IDX files (`train-images-idx3-ubyte`,
  /// `train-labels-idx1-ubyte`, `t10k-…`, packed by gzip or not), CIFAR's binary files (`data_batch_1.bin` …, `test_batch.bin`, or
  /// `train.bin` and `test.bin`), or one sub-folder of PNG files per class.
  ///
  /// - Parameter side: of the pictures of sub-folders, see ``imageFolder(_:side:name:)``.
  /// - Returns: the images, and those of the test set where files of the folder are named so.
  /// - Throws: `FormatError` or `DataError`, also for a folder in none of these forms.
  public static func known(in path: String, side: Int) throws -> (images: ImageDataset, test: ImageDataset?) {
    let names = try folderNames(path)
    func file(_ stem: String) -> String? {
      // Some sources write a dot for the hyphen before idx.
      [stem, stem.replacing("-idx", with: ".idx")].flatMap { [$0, $0 + ".gz"] }.first(where: names.contains)
        .map { "\(path)/\($0)" }
    }
    func digits(_ stem: String, classes: Int?) throws -> ImageDataset? {
      guard let images = file("\(stem)-images-idx3-ubyte") else { return nil }
      guard let labels = file("\(stem)-labels-idx1-ubyte") else {
        throw DataError(
          .files,
          "Expected '\(stem)-labels-idx1-ubyte' beside '\(images)', which is not there; labels belong to images.")
      }
      return try mnist(images: images, labels: labels, classes: classes, name: path)
    }
    if let training = try digits("train", classes: nil) {
      return (training, try digits("t10k", classes: training.classCounts?.count))
    }
    func cifar(_ files: [String], _ read: ([String]) throws -> ImageDataset) rethrows -> ImageDataset? {
      let found = files.filter(names.contains)
      return found.isEmpty ? nil : try read(found.map { "\(path)/\($0)" })
    }
    if let training = try cifar((1...5).map { "data_batch_\($0).bin" }, { try cifar10($0, name: path) }) {
      return (training, try cifar(["test_batch.bin"]) { try cifar10($0, name: path) })
    }
    if let training = try cifar(["train.bin"], { try cifar100($0, name: path) }) {
      return (training, try cifar(["test.bin"]) { try cifar100($0, name: path) })
    }
    return (try imageFolder(path, side: side, name: path), nil)
  }
}
